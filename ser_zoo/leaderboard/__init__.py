"""The leaderboard: run a grid of models, corpora and seeds, and render reports from the rows that it stored."""
