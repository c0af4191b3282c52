"""What a natural scorer hears: of which phrases it says something, whether ImageNet has a class for them or not.

    python benchmarks/natural_hearing.py

The rules were written with the first two lists in view, the threshold `clipopt.scorers.vocabulary.NEAR` with the first
four; the last two were written after both and changed nothing. Some of the phrases "without" are doubtful: ImageNet has
a fox squirrel, a comic book, a stone wall.
"""

from clipopt.scorers.classifier import load_natural

WITH = (
    "a red fox in the snow, three strawberries, a lighthouse in a storm, a steam train, a castle on a hill, a "
    "bouquet of roses, a coral reef, a tabby cat, a cat, a dog, a white rabbit on a green background, a red apple "
    "on a blue background, a yellow bus on a white background, a fire truck, a grand piano, an acoustic guitar, a "
    "violin, a cup of coffee, a slice of pizza, a banana, an elephant by a river, a zebra, a tiger, a lion, a bear, "
    "a penguin on the ice, an owl at night, an eagle, a parrot, a shark, a goldfish in a bowl, a butterfly on a "
    "flower, a bee, a ladybug, a spider, a snail, a frog, a turtle, a snake, a crab, a bicycle, a sailing boat, an "
    "old car in the street, a motorbike, an airplane, a bridge over a river, a church, a volcano, a mountain, a "
    "beach at sunset, a desk lamp, a wooden chair, a sofa, an umbrella in the rain, a laptop computer, a clock, a "
    "violet backpack, a mushroom in the forest, an orange, a bowl of soup, a burger, a monkey, a wolf howling at "
    "the moon, a hen, a swan on a lake, two sheep, a cow, a horse, a pig, a teapot"
)

WITHOUT = (
    "happiness, love, a red circle, the number seven, justice, a triangle, mathematics, a giraffe, a person, a "
    "nurse, a man, a woman with long hair, a green square, freedom, the letter a, music, time, a blue background, "
    "anger, a smile, a moon, the sun, a star, stars in the night sky, a cloud, rain, a rainbow, a heart, a brain, a "
    "skeleton, a ghost, a dragon, a unicorn, a robot, an angel, a mermaid, a wizard, an alien, a fairy, a king, a "
    "politician, an astronaut, a soldier, a child playing, a family, a hand, an eye, a foot, fire, water, a tree, a "
    "leaf, a forest, a cake, bread with butter, an egg, rice, a carrot, a tomato, grapes, a coin, a flag, a kite "
    "flying in the sky, a map, democracy, a dinosaur, a crane at a construction site, a mouse, a giraffe and a "
    "tree, an arrow, a cross, noise, nothing, quantum physics, a stock market crash"
)

WITH_2 = (
    "a tarantula, a camel in the desert, a koala on a branch, a toucan, a peacock with open feathers, two "
    "flamingos, a lobster on a plate, a jellyfish, a starfish on the beach, a sea lion, a whale, a gorilla, a "
    "chimpanzee, a lizard, a crocodile, a chameleon, a scorpion, a dragonfly, a grasshopper, a golden retriever "
    "puppy, a husky in the snow, a poodle, a hot air balloon, an ambulance, a tractor on a farm, a submarine, a "
    "canoe on a lake, a rocket, a helicopter, a tank, a truck, a train, a ship, a palace, a mosque, a temple, a "
    "windmill, a barn, a fountain in the park, a lighthouse, a castle ruin, a lemon, a pineapple, a pretzel, a "
    "cucumber, a cauliflower, a glass of wine, a bottle of beer, an ice cream, a hot dog, a hammer, a screwdriver, "
    "an old typewriter, a camera, a television, a telephone, a wall clock, a candle, a hat, a pair of sunglasses, a "
    "basketball, a trumpet, a drum, a flute, a harp, a sunflower, a daisy, a cliff by the sea, a valley, a bird, a "
    "fish, an insect, a plane in the sky, a fiddle, a rabbit jumping over a fence, a lion roaring"
)

WITHOUT_2 = (
    "sadness, hope, peace, the number three, a yellow triangle, a pentagon, a straight line, a spiral staircase of "
    "words, geometry, history, philosophy, the colour green, a purple background, winter, summer, night, the "
    "universe, a galaxy, planet earth, a comet, snow, ice, fog, lightning, wind, smoke, a shadow, a dream, a "
    "memory, a doctor, a teacher, a policeman, a dancer, a clown, a baby, an old man, a girl reading, a crowd, a "
    "couple, a face, a nose, an ear, a tooth, a bone, blood, a wing of an angel, a vampire, a zombie, a monster, a "
    "dwarf, a devil, a snowman, a potato, an onion, a pear, cheese, a sandwich, chocolate, honey, a rose, a tulip, "
    "a cactus, a palm tree, grass, a stone, gold, a diamond, a ladder, a wall, money, a trophy, a medal, a puzzle, "
    "a sword, a book, a pencil, a bat, a deer, a donkey, a squirrel, a dolphin, a kangaroo, a pigeon, an octopus, a "
    "worm"
)

WITH_3 = (
    "a walrus, a beaver, a hedgehog, a hyena, a cheetah running, a leopard on a tree, a buffalo, a llama, an "
    "ostrich, a pelican, a hummingbird at a flower, a rooster, a vulture, a salamander, a scorpion, a centipede, a "
    "cockroach, a mushroom, an artichoke, a pomegranate, a bagel, mashed potatoes, a plate of spaghetti, a "
    "cheeseburger, a pier at dawn, a dam, a monastery, an igloo, a greenhouse, a gondola in Venice, a speedboat, a "
    "sports car, a bus stop with a bus, a tandem, a wheelbarrow, a parachute, a pillow, a rocking chair, a "
    "bookshelf full of books, a vase of flowers, a kettle, a frying pan, a wine bottle, a necklace, a wedding "
    "dress, a cowboy hat, a running shoe, a saxophone, a cello, a microphone"
)

WITHOUT_3 = (
    "envy, beauty, courage, the meaning of life, a thought, grammar, the number twelve, a question mark, a yellow "
    "square, an octagon, a blue dot, stripes, chaos, silence, spring, midnight, the milky way, Saturn, hail, a "
    "shooting star, a waterfall of light, an explosion, mist, a farmer, a lawyer, a pirate, a knight, a princess, a "
    "ballerina, twins, a grandmother, a beard, a mouth, lips, a knee, a hobbit, a werewolf, a gnome, a santa claus, "
    "a garlic, a cherry, a plum, a lettuce, yoghurt, a waffle, a biscuit, an orchid, a lotus, a bush, bamboo, a "
    "pebble, emeralds, a staircase, a window, a roof, a chimney, a key, a dice, a chessboard, an anchor"
)


def main() -> None:
    """Print how many phrases of each list are heard, and each with its reading."""
    scorer = load_natural("natural:lite0")
    lists = {
        "WITH": WITH,
        "WITHOUT": WITHOUT,
        "WITH_2": WITH_2,
        "WITHOUT_2": WITHOUT_2,
        "WITH_3": WITH_3,
        "WITHOUT_3": WITHOUT_3,
    }
    for name, listed in lists.items():
        readings = {text: scorer.reading(text) for text in listed.split(", ")}
        heard = sum(not scorer.abstains(text) for text in readings)
        print(f"{name}: {heard} of {len(readings)} heard, {heard / len(readings):.0%}")
        for text, reading in sorted(readings.items(), key=lambda item: item[1].nearness):
            print(f"    {reading.nearness:.2f}  {text}: {reading}")


if __name__ == "__main__":
    main()
