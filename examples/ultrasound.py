"""Draw ultrasound in grey, train on its lesions, score and explain what was found."""

import common
import scenes_other


def main():
    parser = common.arguments(__doc__, results="results/ultrasound", data=False)
    parser.add_argument("--count", type=int, default=240, help="scenes to draw")
    parser.set_defaults(set=["channels=1", "ema_momentum=0.99"], filters=16, epochs=30)
    return scenes_other.experiment(parser.parse_args(), scenes_other.ultrasound)


common.run(main)
