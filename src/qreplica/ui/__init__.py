"""The web UI: pages that ask the REST API, in the same process, with the rights of who looks at them."""
