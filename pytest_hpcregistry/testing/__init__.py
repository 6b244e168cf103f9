"""For authors of tests: a transport that answers as told, facts and SIF files made by hand. Python 3.11."""
