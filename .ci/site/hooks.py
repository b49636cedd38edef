"""What mkdocs asks as it builds the site: the pages that are made from the code."""
