"""Whole networks on the host: named engines, pictures, tables, the golden model, sessions."""
