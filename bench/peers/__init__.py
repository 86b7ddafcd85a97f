"""What runs other people's retrieval, each script in a Python that has that peer installed. See bench/peers/run.py."""
