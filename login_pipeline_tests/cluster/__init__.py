"""What becomes of a drain by the containers of docker-compose.yml where one of them is lost: `make cluster-test`."""
