"""cuvee: blend human and machine-written text into versioned training corpora, and prove what is in them.

import cuvee
version = cuvee.open("library@latest", store="./cuvee-store")
version.scan().select("text", "provenance").head().collect()
"""

from cuvee.dataset import Dataset
from cuvee.dataset import open_dataset as open
from cuvee.schemas.errors import CuveeError

__all__ = ["CuveeError", "Dataset", "open"]
