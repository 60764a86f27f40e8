"""The three stages that turn photos into reconstructions: coarse, statistical, refine."""
