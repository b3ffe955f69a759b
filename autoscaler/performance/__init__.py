"""How fast is a replica of this variant?"""
