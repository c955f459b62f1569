"""How long things are kept: values in, values out. No database, no clock, no bytes."""
