"""Duplicates: signatures of texts (signature.py), families of texts (families.py), the election of survivors (stage.py)."""
