"""What the memories hold: traces of every level along fixed trials, and what is made of them."""
