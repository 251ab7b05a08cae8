import { given } from "../support/sharing.ts";

/** A process that counts once in the zone that it shares. */
const [zone] = given().zones;
zone.lock();
zone.words[1]++;
zone.unlock();
