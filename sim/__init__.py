"""The MuJoCo twin. Importing it registers its tasks as gymnasium ids `journeyman/...`."""

from sim.registration import register

register()
