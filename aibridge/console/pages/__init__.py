"""The console's pages: HTML made on the server. They ask the same questions as the API, and need no JavaScript."""
