"""The REST API of a controller: one resource a file, all under ``/api/v1``."""
