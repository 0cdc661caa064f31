"""Namesake: a customer-identity authority for CRMs."""
