"""What an operator does for the people in the table: erase, unmask, rotate keys, look at groups."""
