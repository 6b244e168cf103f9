"""What image.yaml says: how an image is called and made, and by which checks it is tested."""
