"""How ip and device_id are masked, under which keys, and where the keys are read from."""
