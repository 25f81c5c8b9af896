"""How long releases take."""
