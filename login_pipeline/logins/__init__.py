"""The contract of a login and the transformation to the table's columns, without I/O."""
