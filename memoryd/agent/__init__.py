"""What an agent's runtime touches all day beside its memories: sessions, checkpoints and other documents."""
