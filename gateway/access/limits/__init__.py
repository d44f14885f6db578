"""How much may be asked: by one operation, by one caller, and by all of them at once."""
