"""How much may be requested: by one operation, by one caller, and by all of them at once."""
