"""Rows to Arrow files, each exactly once: schema, segments, and the protocol that ties them to the journal."""
