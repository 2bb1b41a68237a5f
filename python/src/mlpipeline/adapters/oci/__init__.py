"""Container images without an engine: layers from files, an OCI layout, a docker-archive, and a registry's own protocol.

Only the optional build from a project's own Dockerfile (``engine.py``) talks to a container engine.
"""
