"""Programs for people and for other programs: the command line, the server with its page and API, the assistant."""
