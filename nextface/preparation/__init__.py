"""From a photo to what the stages look at: cropped, with landmarks and skin found."""
