"""The database: connections, transactions, the tables and their SQL."""
