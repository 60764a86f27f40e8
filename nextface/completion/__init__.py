"""What a face model's files lack, from the embedded head on its surface: skin, regions, landmarks, UVs."""
