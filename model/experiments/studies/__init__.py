"""Figures, and tables of data that no memory holds: made of the stages of the other tables."""
