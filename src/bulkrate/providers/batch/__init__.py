"""How providers of batches speak: what to ask, how their answers read, and lines in their own language.

Pure: no network, no clock, no dice. The seam is in `base.py`.
"""
