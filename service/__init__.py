"""Namesake: a customer-identity authority for CRMs."""

import gc

# Modules make objects that stay, and calls make few cycles: collecting as often as Python does by
# default takes a tenth of the start. Here, because worker processes load none of the entry.
gc.set_threshold(100_000, 20, 100)  # objects, some tens of megabytes
