"""How maps lie in the banks and how positions are dispatched to them: one choice for all passes."""
