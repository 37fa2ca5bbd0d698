"""What breaks connections and services on purpose: proxies, and the account of every message of a test."""
