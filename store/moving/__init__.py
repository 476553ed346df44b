"""A store elsewhere: export, import, copy, and the take-over of a rebuilt one."""
