"""Publish: write files, ledger and documents, then the manifest in one create-only put, then the tag."""
