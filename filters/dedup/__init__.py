"""Duplicates: signatures of texts (signature.py), candidates (families.py), true similarity and
families (similarity.py), the election of survivors (stage.py)."""
