"""python3 -m unittest discover -p "*_test.py", in this folder; an image's build runs it as well."""

import unittest

from handler import handle


class HandlerTest(unittest.TestCase):
    def test_greets_whom_the_body_names(self):
        self.assertEqual(handle("Ada\n"), "Hello, Ada!")

    def test_greets_the_world_when_nobody_is_named(self):
        self.assertEqual(handle(""), "Hello, world!")
