"""The console: the query API, its pages, and who may see what. It is loaded when somebody looks."""
