"""What a source on disk is. Files are read as data only: nothing in them is ever run or unpickled."""
