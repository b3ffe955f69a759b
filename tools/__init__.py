"""Tools of the repository: servers for tests, generated files."""
