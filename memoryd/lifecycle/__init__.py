"""What happens to memories as time passes; so far, a change of the embedding model."""
