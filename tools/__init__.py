"""What developers run now and then: taking in a release of what is shipped as root, and mutation tests."""
