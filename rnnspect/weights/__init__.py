"""How parameters are packed (`layouts`), read from files (`readers`) and written as another framework has them
(`writers`)."""
