"""Generate: fill the shortage of synthetic text with drafts grounded in licensed human documents."""
