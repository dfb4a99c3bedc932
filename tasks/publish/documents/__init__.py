"""Documents: what a version tells people; one module a document, found by its presence here."""
