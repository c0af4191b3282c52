"""Everyday words for what photographs show: coarser than the names of a classifier's classes."""

_COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, kite, baseball bat, skateboard, surfboard, tennis racket, bottle, wine glass,
cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair,
couch, potted plant, bed, dining table, toilet, television, laptop, computer mouse, remote control, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair dryer,
toothbrush"""
_CIFAR = """aquarium fish, baby, beaver, bee, beetle, bridge, butterfly, camel, can, castle, caterpillar, chimpanzee,
cloud, cockroach, crab, crocodile, dinosaur, dolphin, flatfish, forest, fox, hamster, house, kangaroo, lamp,
lawn mower, leopard, lion, lizard, lobster, man, mountain, mouse, mushroom, orchid, otter, palm tree, pear,
pickup truck, plate, poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea, seal, shark, shrew,
skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet pepper, table, tank, telephone, tiger,
tractor, tree, trout, tulip, turtle, wardrobe, whale, wolf, woman, worm, fish, flower, fruit, vegetable, insect,
furniture, vehicle"""
_MORE = """animal, monkey, frog, duck, shell, building, tower, church, palace, temple, fence, ship, lake, beach, food,
bread, soup, drink, helmet, hat, shoe, dress, bag, basket, box, ball, drum, guitar, piano, flute, camera, gun, tool,
machine, wheel, door, curtain, pot, mask, statue, toy"""
_SUBSTANCES = "glass, metal, paper, wood, fabric, water, food, bread, soup, sea, fruit, furniture, skis, scissors"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(" ".join(each.split()) for each in text.split(",")))


EVERYDAY = _listed(f"{_COCO}, {_CIFAR}, {_MORE}")
"""The things of COCO (Lin et al. 2014, arXiv:1405.0312), the classes of CIFAR-100 (Krizhevsky 2009), and some more."""
SUBSTANCES = frozenset(_listed(_SUBSTANCES))
"""Those of them that stand without an article."""
