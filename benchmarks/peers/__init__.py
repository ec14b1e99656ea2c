"""This project and its peers on one made account."""
