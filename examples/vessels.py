"""Draw retinas, train on their vessels, score and explain what was found, in a few minutes."""

import common
import scenes_other


def main():
    parser = common.arguments(__doc__, results="results/vessels", data=False)
    parser.add_argument("--count", type=int, default=240, help="retinas to draw")
    parser.set_defaults(set=["generator=unet", "ema_momentum=0.99"], filters=8, epochs=30)
    return scenes_other.experiment(parser.parse_args(), scenes_other.vessels)


common.run(main)
