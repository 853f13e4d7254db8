"""One module a step. A released step is never changed, so it repeats the schema's types instead of importing them."""
